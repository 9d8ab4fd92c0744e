package localsts

import (
	"context"
	"log/slog"
)

// call is one API call.
type call struct {
	ctx context.Context
	parameters
	action string
	// conditionKeys are the values of the condition keys that every call has.
	conditionKeys map[string][]string
	caller        caller
	logger        *slog.Logger
}
