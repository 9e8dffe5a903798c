"""From a file to its caption: windows are read, heard side by side, and said."""
