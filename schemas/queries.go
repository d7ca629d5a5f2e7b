package schemas

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
)

// Query is the JSON Schemas of a query's request and reply, each on one line. They describe; what reads requests checks
// them itself.
func Query(name string) (request, reply string, err error) {
	if request, err = oneLine("queries/" + name + ".request.json"); err != nil {
		return "", "", err
	}
	reply, err = oneLine("queries/" + name + ".reply.json")
	return request, reply, err
}

func oneLine(file string) (string, error) {
	raw, err := fs.ReadFile(files, file)
	if err != nil {
		return "", fmt.Errorf("no schema: %w", err)
	}
	var line bytes.Buffer
	err = json.Compact(&line, raw)
	return line.String(), err
}
