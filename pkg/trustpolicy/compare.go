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

// arnLike reports whether each of the six parts of an ARN matches its part of the
// pattern. The last part can contain colons. See operators, "Amazon Resource Name (ARN)
// condition operators".
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

// maxNumber is the maximum number of characters of a number.
const maxNumber = 40

// numeric returns a comparison of numbers that is true if holds is true of their order.
// Numbers with exponents do not compare: a few digits of exponent make a large number.
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

// dateLayouts are the W3C's profile of ISO 8601, as https://www.w3.org/TR/NOTE-datetime
// defines it.
var dateLayouts = []string{"2006", "2006-01", "2006-01-02", "2006-01-02T15:04Z07:00", time.RFC3339Nano}

// parseDate parses a date or a number of seconds since 1970, and reports whether s is
// one of them. Four digits are a year.
func parseDate(s string) (time.Time, bool) {
	for _, layout := range dateLayouts {
		if parsed, err := time.Parse(layout, s); err == nil {
			return parsed, true
		}
	}
	seconds, err := strconv.ParseInt(s, 10, 64)
	return time.Unix(seconds, 0), err == nil
}

// date returns a comparison of dates that is true if holds is true of their order.
func date(holds func(order int) bool) func(string, pattern) bool {
	return func(found string, expected pattern) bool {
		a, okA := parseDate(found)
		b, okB := parseDate(expected.literal())
		return okA && okB && holds(a.Compare(b))
	}
}

// ipAddress reports whether an address is in the expected range, or is the expected
// address.
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

// binary reports whether the expected value is the base64 encoding of found.
func binary(found string, expected pattern) bool {
	decoded, err := base64.StdEncoding.DecodeString(expected.literal())
	return err == nil && string(decoded) == found
}
