package main

import (
	"flag"
	"os"
	"testing"

	"github.com/nats-io/nats-server/v2/server/ats"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files anew")

// envAsMain has the test binary be the program itself, for tests of signals.
const envAsMain = "SUBRELAY_TEST_AS_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(envAsMain) != "" {
		main()
		return
	}
	ats.Register() // the server's clock, which ticks for the whole process: before any bubble, and no leak
	goleak.VerifyTestMain(m,
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/ats.Register.func1"),
		goleak.IgnoreTopFunction("github.com/nats-io/nats-server/v2/server/ats.init.0.func1"))
}
