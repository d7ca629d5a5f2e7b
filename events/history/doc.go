// Package history checks histories: given the commands that were accepted, the calls that an upstream saw, the ledger
// and the dead letters, it says what was violated of the promise: at most one upstream effect per attempt, one final
// outcome per command, order and no overlap per key and upstream, and nothing lost or guessed.
//
// It is one judge for the demo, the tests, the simulation and the doctor, so it trusts none of the code it judges: it
// takes the upstream's own book (Effect), never what a worker says it did.
package history
