package main

import (
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/sidecar"
)

func newSubscription() *cobra.Command {
	c := &cobra.Command{
		Use:   "subscription",
		Short: "See, pause, resume, retry and reset what is consumed",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newSubscriptionList(),
		newSubscriptionDecide("pause", "Stop delivering, until it is resumed",
			"No call of the handler begins any more, and no message is handed to who pulls. Calls that run go\n"+
				"on, leases too; nothing is acked for it, no attempt is burnt, and the place in the topic is\n"+
				"kept. It lasts over restarts. Other sidecars of the group go on with their queues; the queues\n"+
				"of this one wait."),
		newSubscriptionDecide("resume", "Go on delivering", "Takes back what pause did."),
		newSubscriptionDecide("retry", "Call the handler again for what no broker takes back",
			"Each message that is held because a broker takes it back neither for a retry nor as a dead letter\n"+
				"is called for once more, at once. One that its handler answers with 200 is settled; the others\n"+
				"are held as before."),
		newSubscriptionReset())
	return c
}

func newSubscriptionList() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:     "list",
		Short:   "List subscriptions, and what holds them up",
		Example: "  sidecar subscription list\n  sidecar subscription list -o json",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.use(c, func(s *spooler) error { return listAll(c, s, out, "/v1/subscriptions", subscriptionTable) })
	}
	o.registerRunning(c)
	return c
}

func newSubscriptionDecide(verb, short, long string) *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:     verb + " NAME",
		Short:   short,
		Long:    long,
		Example: fmt.Sprintf("  sidecar subscription %s billing", verb),
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, names []string) error {
		return o.use(c, func(s *spooler) error {
			return decideOne(c, s, out, subscriptionPath(names[0])+"/"+verb, subscriptionTable)
		})
	}
	o.registerRunning(c)
	return c
}

func subscriptionPath(name string) string { return "/v1/subscriptions/" + url.PathEscape(name) }

func subscriptionTable(w io.Writer, all []sidecar.Subscription) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no subscriptions")
		return
	}
	fmt.Fprintln(w, "NAME\tTOPIC\tGROUP\tMODE\tSTATE\tIN FLIGHT\tLEASED\tHELD\tWHY")
	for _, s := range all {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%d\t%d\t%s\n", s.Name, s.Topic, s.Group, s.Mode, s.State, s.InFlight, s.Leased, s.Held, causes(s.HeldUp))
	}
}

// causes say in one line what holds something up.
func causes(all []sidecar.HeldUp) string {
	said := make([]string, len(all))
	for i, h := range all {
		said[i] = h.Cause
		if !h.Since.IsZero() {
			said[i] += " for " + age(h.Since)
		}
		if h.Detail != "" {
			said[i] += " (" + printable(h.Detail) + ")"
		}
	}
	return strings.Join(said, "; ")
}
