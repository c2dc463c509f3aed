"""The programs, one file each, and the few parts they share."""
