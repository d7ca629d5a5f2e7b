package main

import (
	"fmt"
	"strconv"

	"github.com/spf13/cobra"
)

func newValidateCommand(c *cli) *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE",
		Short: "Check commands against the schemas, offline",
		Long: `Check a file of commands, structured CloudEvents, one per line; "-" is stdin. Every problem is listed with its line and
JSON pointer. Nothing is sent, and no server is needed. The exit code is 3 when any command is invalid.`,
		Example: `  subrelay validate commands.jsonl
  jq -c . command.json | subrelay validate -
  subrelay validate commands.jsonl -o json | jq 'select(.valid | not)'`,
		Args: wantArgs("FILE"),
		RunE: func(_ *cobra.Command, args []string) error { return c.validate(args[0]) },
	}
}

// validation is the verdict on one line.
type validation struct {
	Line     int      `json:"line"`
	Valid    bool     `json:"valid"`
	ID       string   `json:"id,omitempty"`
	Kind     string   `json:"kind,omitempty"`
	Key      string   `json:"key,omitempty"`
	CID      string   `json:"cid,omitempty"`
	Code     string   `json:"code,omitempty"`
	Problems []string `json:"problems,omitempty"`
}

func (c *cli) validate(file string) error {
	check, err := newChecker()
	if err != nil {
		return err
	}
	in, err := c.openInput(file)
	if err != nil {
		return err
	}
	defer in.Close() // only read
	v := &validator{cli: c, seen: make(map[string]draft)}
	for d, err := range check.drafts(in) {
		if err == nil {
			err = v.take(d)
		}
		if err != nil {
			return err
		}
	}
	if v.total == 0 {
		return fmt.Errorf("%s holds no commands", file)
	}
	return v.finish()
}

// validator collects verdicts.
type validator struct {
	cli            *cli
	seen           map[string]draft // by cid
	rows           [][]string
	total, invalid int
}

func (v *validator) take(d draft) error {
	cmd, failure := d.checked.Command, d.checked.Failure
	verdict := validation{
		Line: d.line, Valid: failure == nil, ID: cmd.ID, Kind: string(cmd.Kind), Key: cmd.Subject, CID: cmd.CID,
		Problems: problemsOf(failure),
	}
	if failure != nil {
		verdict.Code = failure.Code
	} else if first, ok := v.seen[cmd.CID]; ok && first.checked.Hash != d.checked.Hash {
		verdict.Valid, verdict.Code = false, "id_reused"
		verdict.Problems = []string{fmt.Sprintf("the same id, source and subject as line %d, with other data", first.line)}
	} else {
		v.seen[cmd.CID] = d
	}
	v.total++
	if !verdict.Valid {
		v.invalid++
	}
	if v.cli.wantJSON {
		return v.cli.printJSON(verdict)
	}
	for _, p := range verdict.Problems {
		v.rows = append(v.rows, []string{strconv.Itoa(d.line), verdict.ID, verdict.Code, p})
	}
	return nil
}

func (v *validator) finish() error {
	if !v.cli.wantJSON {
		if v.invalid == 0 {
			return v.cli.printLine("%d valid", v.total)
		}
		if err := v.cli.printTable([]string{"LINE", "ID", "CODE", "PROBLEM"}, v.rows); err != nil {
			return err
		}
		if err := v.cli.printLine("%d of %d invalid", v.invalid, v.total); err != nil {
			return err
		}
	}
	if v.invalid > 0 {
		return endWith(exitRejected)
	}
	return nil
}
