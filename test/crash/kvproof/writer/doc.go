// Command writer accepts numbered records in a database, in order, and prints
// for each that is durable:
//
//	accepted N
//
// At the first that is not it prints "failed N", then "refuses" if everything
// after it is refused, and exits with 3. When all are accepted it prints "done"
// and waits to be killed.
//
//	writer DIR FIRST LAST
package main
