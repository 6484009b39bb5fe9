"""The commands of `bn-compare`, and the options that they share."""
