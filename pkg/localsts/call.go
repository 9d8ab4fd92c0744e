package localsts

import (
	"context"
	"log/slog"
)

// call is one call of an API.
type call struct {
	ctx context.Context
	parameters
	action string
	// keyCache are the condition keys of the call itself.
	keyCache map[string][]string
	caller   caller
	logger   *slog.Logger
}
