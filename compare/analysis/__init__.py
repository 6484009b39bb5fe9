"""From records to pairs, intervals and verdicts; framework-free."""
