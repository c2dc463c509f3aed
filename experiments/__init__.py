"""The commands, one file each, and the packages that they stand on, one theme each."""
