package catalog

// LogPositions gives the keys of the rows that hold a revision of the store: up to which the change log was followed. Who
// moves the rows to another store must translate them (package transfer); no other row holds a revision.
func LogPositions() []string { return []string{keyPosition} }
