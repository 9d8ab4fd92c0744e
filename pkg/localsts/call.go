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
	caller caller
	logger *slog.Logger
}
