// Package token owns the projected ServiceAccount token: the volume that asks
// for it and the claims that it carries. It never reads a token from a disk or
// a cluster, and never prints one.
package token
