// Package token implements the projected ServiceAccount token: the volume that requests it,
// and its claims. The package never reads a token from a disk or a cluster, and never prints
// one.
package token
