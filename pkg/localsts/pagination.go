package localsts

import (
	"encoding/base64"
	"slices"
)

const (
	// defaultPageSize is the page size of a call without MaxItems. maxPageSize is the maximum
	// of MaxItems (IAM API reference, MaxItems).
	defaultPageSize = 100
	maxPageSize     = 1000
)

// page selects at most size names that sort after the name after. An empty after selects
// the first page.
type page struct {
	after string
	size  int
}

// page reads the pagination parameters of a list call. The marker is the last name of the
// previous page. So the next page is correct even if entries were added or deleted between
// the calls. It returns an error if the marker is invalid.
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

// cut returns the names of the page in sorted order, and the marker of the next page. The
// marker is empty on the last page.
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
