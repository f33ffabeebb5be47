package main

import (
	"context"
	"net"
	"net/url"
	"strings"

	"github.com/remora-mq/remora/config"
	"github.com/remora-mq/remora/transaction"
)

// lookAtChecks looks at the addresses at which applications may be asked for the
// decision of a transaction. That something listens there is not asked: it may be
// started with the first transaction.
func lookAtChecks(ctx context.Context, f *findings, l *config.Loaded) {
	const section = "transactions"
	allowed := transaction.Allowed(l.Transactions.CheckURLs)
	if len(allowed) == 0 {
		f.warnf(section, "name the application in transactions.check_urls", "no address may be asked for a decision: no transaction can be prepared")
	}
	for _, pattern := range allowed {
		if err := (transaction.Allowed{pattern}).Validate(); err != nil {
			f.badf(section, "correct transactions.check_urls", "%v", err)
			continue
		}
		if err := resolve(ctx, pattern); err != nil {
			f.badf(section, "correct the host in transactions.check_urls, or have it resolved; what nobody is asked for becomes undecided", "%s: %v", pattern, err)
			continue
		}
		f.okf(section, "applications at %s may be asked", pattern)
	}
	adopted := l.Transactions.AdoptedCheckURL
	if adopted == "" {
		return
	}
	if err := allowed.Check(adopted); err != nil {
		f.badf(section, "add it to transactions.check_urls, or correct transactions.adopted_check_url; adopted transactions would become undecided", "adopted_check_url: %v", err)
		return
	}
	f.okf(section, "transactions of an adopted spool are asked for at %s", adopted)
}

// resolve looks up the host of a pattern.
func resolve(ctx context.Context, pattern string) error {
	u, err := url.Parse(strings.Replace(pattern, ":*", ":1", 1)) // it is valid but for that
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	_, err = net.DefaultResolver.LookupHost(ctx, u.Hostname())
	return err
}
