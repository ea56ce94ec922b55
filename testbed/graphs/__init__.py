"""A planned network as a picture, and in the words of other tools."""
