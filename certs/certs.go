// Package certs manages the serving certificate of the webhook. A Rotator creates
// it with its own CA, rotates it in time, and makes API servers trust it. A
// FileSource reads it from files that something else writes. ClientCA reads the CAs
// of client certificates. The package does not depend on the server that uses them.
package certs
