// Package events is the language of subrelay: commands, outcomes, statuses, error kinds, identity, subject tokens and
// month arithmetic. It imports nothing of ours, and knows no broker, no HTTP, no logging and no clock: whatever depends
// on the present takes it as an argument.
//
// A billing system states a command as a CloudEvent of type "subrelay.<kind>.v1"; subrelay states what became of it as
// CloudEvents of type "subrelay.<kind>.<status>.v1". Everything that derives from a command (its cid, the ids of its
// outcomes, references sent upstream) is computed from the command's source, id and subject alone, so that repeats
// coincide.
package events
