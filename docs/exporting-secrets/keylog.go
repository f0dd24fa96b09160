// Copyright (c) bftap contributors
// SPDX-License-Identifier: Apache-2.0 OR MIT

// Writes RLPx session secrets to the file that BFTAP_KEYLOG names, for bftap
// (docs/exporting-secrets.md). Standard library only: put this file beside the
// client's rlpx.go and change the package clause to that of its new neighbour.

package rlpx

import (
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"
)

// keyLogLimit ends the log at this many bytes, about 170,000 sessions: any peer
// can open connections, and a full disk would stop the node.
const keyLogLimit = 64 << 20

// keyLogComplaint lets only the first problem be printed, for the same reason.
var keyLogComplaint sync.Once

// logRLPxSecrets appends one line about a session whose handshake is complete.
//
// session is the Keccak-256 of the auth packet as it stands on the wire, with
// its size prefix and without a connection-type byte. With mac nil, the line
// holds the AES key alone: its reader can then neither check nor forge frames.
//
// Nothing is kept of the slices. The node never fails because of the log: a
// problem is told once on standard error, and the line is left out.
func logRLPxSecrets(session, aes, mac, initNonce, respNonce []byte, initiator bool) {
	path := os.Getenv("BFTAP_KEYLOG")
	if path == "" {
		return
	}
	line, err := keyLogLine(session, aes, mac, initNonce, respNonce, initiator)
	if err == nil {
		err = appendKeyLog(path, line)
	}
	if err != nil {
		keyLogComplaint.Do(func() {
			fmt.Fprintf(os.Stderr, "BFTAP_KEYLOG: session secrets are not logged: %v\n", err)
		})
	}
}

func keyLogLine(session, aes, mac, initNonce, respNonce []byte, initiator bool) (string, error) {
	fields := [][]byte{session, aes, mac, initNonce, respNonce}
	if mac == nil {
		fields = fields[:2]
	}
	for i, field := range fields {
		if len(field) != 32 {
			return "", fmt.Errorf("field %d has %d bytes, 32 are expected", i+1, len(field))
		}
	}
	role := "recipient"
	if initiator {
		role = "initiator"
	}
	tail := " role=" + role + " time=" + strconv.FormatInt(time.Now().UnixNano(), 10) + "\n"
	if mac == nil {
		return "RLPX-AES " + hex.EncodeToString(aes) + " session=" + hex.EncodeToString(session) + tail, nil
	}
	line := "RLPX"
	for _, field := range fields {
		line += " " + hex.EncodeToString(field)
	}
	return line + tail, nil
}

// appendKeyLog opens the file anew for every line, so that it can be moved away
// at any time, and writes with one call, so that lines of processes that share
// the file do not mix.
func appendKeyLog(path, line string) error {
	// Opening a pipe that nobody reads would hang the handshake, and a link may
	// lead anywhere.
	if info, err := os.Lstat(path); err == nil {
		if !info.Mode().IsRegular() {
			return errors.New("not a regular file")
		}
		if info.Size() >= keyLogLimit {
			return errors.New("the file has reached its limit; move it away")
		}
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0600)
	if err != nil {
		return err
	}
	_, err = file.WriteString(line)
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}
