package main

import (
	"fmt"
	"net"
)

// beyondLoopback says what it means to listen on an address, "" where nobody but this machine reaches it.
func beyondLoopback(setting, addr string) string {
	host, _, err := net.SplitHostPort(addr)
	if err != nil || host == "localhost" {
		return "" // what is no address is refused elsewhere
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
		return ""
	}
	return fmt.Sprintf("%s is %s, which other machines can reach: it asks for no password, so keep the network away from it by a firewall", setting, addr)
}
