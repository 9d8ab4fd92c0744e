// Package certs owns the serving certificate: that it comes from a CA of our own
// (Authority) or from files that others write (Files), that it is replaced in
// time, and that API servers trust it. It knows nothing of what is served.
package certs
