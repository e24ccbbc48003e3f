// Package rules holds what the catalog decides: which intent a change leads to, how two intents differ in words, which event
// moves a deployment to which state, what names and paths are allowed, what a plan promises.
//
// Everything here is a pure function of its arguments: no context, no I/O, no clock. What reads or writes rows, calls other
// services or asks for the time belongs to the service around it. Errors are of type errs.Error and name the field of the
// request, such as `change.set_operations[2].path`.
package rules
