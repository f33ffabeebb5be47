package httpapi

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"strings"

	"github.com/remora-mq/remora/internal/problem"
)

// digest is one member of a Content-Digest header that we can compute.
type digest struct {
	algorithm string
	want      []byte
}

var digestSizes = map[string]int{"sha-256": sha256.Size, "sha-512": sha512.Size}

// readDigests reads Content-Digest (RFC 9530), a dictionary of digests. What we
// cannot compute may stand beside what we can.
func readDigests(r *request, p *publication) (err error) {
	if text := r.fields.list(nameContentDigest); text != "" {
		p.digests, err = parseDigests(text)
	}
	return err
}

func parseDigests(text string) ([]digest, error) {
	var digests []digest
	for member := range strings.SplitSeq(text, ",") {
		algorithm, value, _ := strings.Cut(strings.TrimSpace(member), "=")
		algorithm = strings.ToLower(algorithm)
		size, known := digestSizes[algorithm]
		if !known {
			continue
		}
		sum, err := parseByteSequence(value)
		if err != nil || len(sum) != size {
			return nil, problem.New(problem.InvalidDigest, "the %s of Content-Digest is not :BASE64: of %d bytes", algorithm, size)
		}
		digests = append(digests, digest{algorithm: algorithm, want: sum})
	}
	if len(digests) == 0 {
		return nil, problem.New(problem.InvalidDigest, "Content-Digest has neither sha-256 nor sha-512")
	}
	return digests, nil
}

// parseByteSequence reads a byte sequence of RFC 8941: base64 between colons.
func parseByteSequence(s string) ([]byte, error) {
	inner, ok := strings.CutPrefix(s, ":")
	inner, closed := strings.CutSuffix(inner, ":")
	if !ok || !closed {
		return nil, base64.CorruptInputError(0)
	}
	return base64.StdEncoding.DecodeString(inner)
}

// verify compares the body as it was transferred.
func verify(digests []digest, body []byte) error {
	for _, d := range digests {
		if !bytes.Equal(d.want, d.sum(body)) {
			return problem.New(problem.DigestMismatch, "the %s of the %d bytes received is not the one in Content-Digest", d.algorithm, len(body))
		}
	}
	return nil
}

func (d digest) sum(body []byte) []byte {
	if d.algorithm == "sha-512" {
		sum := sha512.Sum512(body)
		return sum[:]
	}
	sum := sha256.Sum256(body)
	return sum[:]
}
