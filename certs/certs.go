// Package certs owns the serving certificate: where it comes from, and that the
// server always has the newest. It stands alone and knows nothing of webhooks.
package certs
