package config

import (
	"fmt"
	"net/url"
	"strings"
)

// problems finds what could never be asked. Which addresses a pattern allows is
// decided where they are.
func (t *Transactions) problems(p *Problems) {
	for i, pattern := range t.CheckURLs {
		checkURL(p, fmt.Sprintf("transactions.check_urls[%d]", i), strings.Replace(pattern, ":*", ":1", 1))
	}
	if t.AdoptedCheckURL != "" {
		checkURL(p, "transactions.adopted_check_url", t.AdoptedCheckURL)
		if n := len(t.AdoptedCheckURL); n > longestCheckURL {
			p.addf("transactions.adopted_check_url", "it has %d bytes, and %d are the most", n, longestCheckURL)
		}
	}
}

// longestCheckURL is the longest that a transaction is kept with.
const longestCheckURL = 2048

func checkURL(p *Problems, path, text string) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" || strings.Contains(u.Hostname(), "*") {
		p.addf(path, "%q has not the form http://host:port/path; the port of a pattern may be *", text)
	}
}
