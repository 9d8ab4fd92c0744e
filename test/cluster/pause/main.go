// This program keeps a pod's namespaces: it does nothing until it receives a signal.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	// As the first process of a pod, it becomes the parent of orphaned processes.
	// With SIGCHLD ignored, the kernel reaps them.
	signal.Ignore(syscall.SIGCHLD)
	end := make(chan os.Signal, 1)
	signal.Notify(end, syscall.SIGTERM, syscall.SIGINT)
	<-end
}
