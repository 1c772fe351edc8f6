"""The classes that users subclass, and what all operators share."""
