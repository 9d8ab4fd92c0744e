package webhook

// For the tests that ask as an API server does.
var RoomFor = roomFor

const (
	LargeBytes      = largeBytes
	MaxDecodedBytes = maxDecodedBytes
	SeldomLines     = seldomLines
	WriteTimeout    = writeTimeout
)
