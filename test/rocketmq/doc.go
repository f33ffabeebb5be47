// Package rocketmq runs real RocketMQ name servers and brokers for tests.
//
// [Start] gives a test a cluster of its own; [New] and [Cluster.Close] do the
// same without a [testing.TB], so that a package can share one cluster from
// TestMain. Each node is a JVM on ports of 127.0.0.1 with all its files below
// one folder, and can be killed, stopped, paused and started again with the
// same ports and data:
//
//	c := rocketmq.Start(t, rocketmq.Options{})
//	c.CreateTopic(t, "orders", 4)
//	produceTo(c.NameServerAddrs())
//	c.Brokers[0].Kill()
//	c.Brokers[0].Start()
//
// Promises: a node that was started answers requests, and a broker is known at
// every name server that runs. No process outlives the test process, however
// that ends (on Linux; elsewhere only an orderly end stops them). Nothing is
// written outside the cluster's folder, except the jars, which Maven fetches
// once into .build at the root of the checkout ([Jars]).
//
// Assumes java and mvn, and a checkout: the working directory is below go.mod.
//
// Concurrency: all methods may be called from several goroutines; those that
// change one node take turns.
package rocketmq
