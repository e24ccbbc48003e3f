package render

// nameForm is the form of a name: lower-case letters, digits and inner dashes, and inner dots where also says so. It is a loop and
// not a regular expression because every object's name is checked, and an expression that counts to 253 is slow to compile and
// to run.
type nameForm struct {
	max  int
	dots bool
}

var (
	// dnsLabel is what a namespace looks like.
	dnsLabel = nameForm{max: 63}
	// objectName is what every object's name must look like, a DNS subdomain: it becomes part of a path.
	objectName = nameForm{max: 253, dots: true}
)

// MatchString reports whether s has the form.
func (f nameForm) MatchString(s string) bool {
	if s == "" || len(s) > f.max {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= '0' && c <= '9':
		case (c == '-' || c == '.' && f.dots) && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return true
}
