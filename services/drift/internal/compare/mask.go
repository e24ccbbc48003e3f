package compare

// Mask gives what people see in the place of a secret value: the same text as in findings, so that a value in an object and the one in
// its finding can be told to be the same or not.
func (c *Comparer) Mask(value string) string { return masked(c.digest(value)) }
