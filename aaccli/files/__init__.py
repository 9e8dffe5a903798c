"""Files of the outside world: csv of any spreadsheet, JSON of strangers; written whole, by one process at a time."""
