// Package handlers is the meaning of subrelay: the life of a command, from the moment it is handed in to its one final
// outcome, and what each kind of command asks of its upstream. Read it to learn the business; no stream, no subject
// and no HTTP status appears here.
//
// The promise it keeps: at most one upstream effect per attempt, one final outcome per command, and nothing guessed.
// Three rules carry it:
//
//   - Every write to the ledger names the record it follows. The ledger lets one writer win, so whoever has stored
//     "started" is the only one who may call for that attempt.
//   - Nothing is called before "started" is stored, and nothing is called late: another worker may then already be
//     settling the attempt.
//   - An error's kind alone decides what happens next: Refused ends the command, Unavailable defers it, Unknown is
//     settled by whatever the upstream offers, and is a doubt where it offers nothing.
//
// A command is a Job with two steps. Prepare needs only the ledger; Attempt needs the upstream's permission. Neither
// waits: what has to wait says until when, so that a waiting command costs no goroutine.
package handlers
