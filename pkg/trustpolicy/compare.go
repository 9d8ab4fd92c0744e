package trustpolicy

import (
	"encoding/base64"
	"math/big"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

func equals(found string, expected pattern) bool { return found == expected.literal() }
func equalsFold(found string, expected pattern) bool {
	return strings.EqualFold(found, expected.literal())
}
func like(found string, expected pattern) bool { return expected.matches(found) }

// arnLike compares the six parts of an ARN each by itself (operators, "Amazon
// Resource Name (ARN) condition operators"). The last may have colons.
func arnLike(found string, expected pattern) bool {
	const parts = 6
	foundParts, expectedParts := strings.SplitN(found, ":", parts), expected.split(':', parts)
	if len(foundParts) != parts || len(expectedParts) != parts {
		return false
	}
	for i, part := range expectedParts {
		if !part.matches(foundParts[i]) {
			return false
		}
	}
	return true
}

// maxNumber bounds the digits of a number: exponents make large ones of few.
const maxNumber = 40

func numeric(holds func(order int) bool) func(string, pattern) bool {
	read := func(s string) (*big.Rat, bool) {
		if len(s) > maxNumber || strings.ContainsAny(s, "eEpPxX/_") {
			return nil, false
		}
		return new(big.Rat).SetString(s)
	}
	return func(found string, expected pattern) bool {
		a, okA := read(found)
		b, okB := read(expected.literal())
		return okA && okB && holds(a.Cmp(b))
	}
}

// dateLayouts are the W3C's of ISO 8601 (https://www.w3.org/TR/NOTE-datetime).
var dateLayouts = []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z07:00", time.RFC3339Nano}

// parseDate reads a date, or seconds since 1970. Four digits are a year.
func parseDate(s string) (time.Time, bool) {
	for _, layout := range dateLayouts {
		if parsed, err := time.Parse(layout, s); err == nil {
			return parsed, true
		}
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

func date(holds func(order int) bool) func(string, pattern) bool {
	return func(found string, expected pattern) bool {
		a, okA := parseDate(found)
		b, okB := parseDate(expected.literal())
		return okA && okB && holds(a.Compare(b))
	}
}

// ipAddress says whether an address is in a range, or is the one address.
func ipAddress(found string, expected pattern) bool {
	address, err := netip.ParseAddr(found)
	if err != nil {
		return false
	}
	if within, err := netip.ParsePrefix(expected.literal()); err == nil {
		return within.Contains(address.Unmap())
	}
	one, err := netip.ParseAddr(expected.literal())
	return err == nil && one.Unmap() == address.Unmap()
}

// binary compares bytes with their base64.
func binary(found string, expected pattern) bool {
	decoded, err := base64.StdEncoding.DecodeString(expected.literal())
	return err == nil && string(decoded) == found
}
