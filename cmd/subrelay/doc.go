// Command subrelay is the one binary: the service, the tools around it, and the imitations to try both on. It reads
// flags and configuration, wires the rooms, and prints; it decides nothing about commands.
//
// main is tiny: run is the whole program with its streams as arguments, and App is the service that main, the demo and
// the end-to-end tests all run. Every command is a constructor of its own, listed in root.go. What a command prints for
// programs (-o json) goes to stdout, one JSON object per line and nothing else; what it tells people goes to stderr.
package main
