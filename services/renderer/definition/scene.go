package definition

// String keeps a template that prints all of its data from printing addresses, which differ from run to run.
func (r *Request) String() string { return r.Uid }

// GoString does the same for the verb that prints Go's syntax.
func (r *Request) GoString() string { return r.Uid }
