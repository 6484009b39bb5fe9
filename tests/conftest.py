"""What every test needs: settings of the frameworks that a user's own files could change."""

import os
import tempfile

# A user's own keras.json could change the dtype or the image layout.
os.environ["KERAS_HOME"] = tempfile.mkdtemp()
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
