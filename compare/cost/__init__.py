"""`bn-compare time --self`: what this program itself costs."""
