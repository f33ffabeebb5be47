package main

import (
	"fmt"
	"io"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/remora-mq/remora/sidecar"
)

func newTopic() *cobra.Command {
	c := &cobra.Command{
		Use:   "topic",
		Short: "See, pause and resume what is forwarded",
		Long:  "Works on a running sidecar by its admin API, or on the directory of one that is stopped.",
		Args:  usageArgs(cobra.NoArgs),
		RunE:  func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(newTopicList(),
		newTopicDecide("pause", "Stop forwarding, until it is resumed",
			"Messages of the topic are accepted as before, and no attempt begins any more; what is in\n"+
				"flight ends. Delayed messages fall due, TTLs end, and transactions are committed. It\n"+
				"lasts over restarts. Other topics go on."),
		newTopicDecide("resume", "Go on forwarding", "Takes back what pause did: at once, and in order."))
	return c
}

func newTopicList() *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:     "list",
		Short:   "List topics with what is held of them, and what holds them up",
		Example: "  sidecar topic list\n  sidecar topic list -o json",
		Args:    usageArgs(cobra.NoArgs),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, _ []string) error {
		return o.use(c, func(s *spooler) error { return listAll(c, s, out, "/v1/topics", topicTable) })
	}
	o.register(c)
	return c
}

func newTopicDecide(verb, short, long string) *cobra.Command {
	var o operate
	c := &cobra.Command{
		Use:     verb + " TOPIC",
		Short:   short,
		Long:    long,
		Example: fmt.Sprintf("  sidecar topic %[1]s orders\n  sidecar topic %[1]s orders --dir /var/lib/remora", verb),
		Args:    usageArgs(cobra.ExactArgs(1)),
	}
	out := newOutput(c)
	c.RunE = func(c *cobra.Command, topics []string) error {
		return o.use(c, func(s *spooler) error {
			return decideOne(c, s, out, "/v1/topics/"+url.PathEscape(topics[0])+"/"+verb, topicTable)
		})
	}
	o.register(c)
	return c
}

func topicTable(w io.Writer, all []sidecar.Topic) {
	if len(all) == 0 {
		fmt.Fprintln(w, "no topics")
		return
	}
	fmt.Fprintln(w, "TOPIC\tSTATE\tWAITING\tIN FLIGHT\tDELAYED\tHALF\tHELD\tDEAD\tWHY")
	for _, t := range all {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\n", t.Topic, t.State, t.Pending+t.Retrying, t.InFlight, t.Delayed, t.Half, t.Held, t.Dead, causes(t.HeldUp))
	}
}
