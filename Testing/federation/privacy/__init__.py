"""A name planted in a hospital's data, and where it is looked for afterwards."""
