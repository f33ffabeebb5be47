// Package examples plays what lies in examples/, each by its one command.
package examples
