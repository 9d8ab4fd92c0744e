package localsts

import (
	"encoding/base64"
	"slices"
)

const (
	// defaultPageSize is the size of a page that says none, mostPage the largest (IAM API
	// reference, MaxItems).
	defaultPageSize = 100
	maxPageSize     = 1000
)

// page is a part of a long list.
type page struct {
	after string
	size  int
}

// page reads the parameters of the calls that list. A marker is the last name that
// the caller has, so that the rest is right whatever came or went meanwhile.
func (p *parameters) page() (page, error) {
	size := p.number("MaxItems", 1, maxPageSize, defaultPageSize)
	marker := p.values.Get("Marker")
	if marker == "" {
		return page{size: size}, nil
	}
	after, err := base64.RawURLEncoding.DecodeString(marker)
	if err != nil {
		return page{}, validationError("Invalid Marker.")
	}
	return page{string(after), size}, nil
}

// cut returns the part of the names, and the marker for the next, if there is one.
func (p page) cut(names []string) (part []string, marker string) {
	names = slices.Sorted(slices.Values(names))
	start, _ := slices.BinarySearchFunc(names, p.after, func(name, after string) int {
		if p.after != "" && name <= after {
			return -1
		}
		return 1
	})
	names = names[start:]
	if len(names) <= p.size {
		return names, ""
	}
	part = names[:p.size]
	return part, base64.RawURLEncoding.EncodeToString([]byte(part[p.size-1]))
}
