// Command kind.
package main

func main() {}
