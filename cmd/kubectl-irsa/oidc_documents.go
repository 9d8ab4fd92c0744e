package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/fatih/color"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/pod-identity-webhook/pod-identity-webhook/pkg/token/issuer/publish"
)

// documentsReport is the output of oidc documents.
type documentsReport struct {
	oidcIssuer
	Files []documentFile `json:"files"`
	// Directory is the directory of -d. It has the files if Done is true.
	Directory string `json:"directory,omitempty"`
	Done      bool   `json:"done"`
}

type documentFile struct {
	Path        string          `json:"path"`
	URL         string          `json:"url"`
	ContentType string          `json:"contentType"`
	Document    json.RawMessage `json:"document"`
}

func newDocumentsCommand(o *options) *cobra.Command {
	source := &oidcSource{options: o}
	var directory string
	command := &cobra.Command{
		Use:   "documents",
		Short: "Write the discovery document and the key set of the issuer",
		Long: "Write the discovery document and the key set of the issuer, ready to upload.\n\n" +
			"Use them for an issuer that is not the API server itself, such as a bucket that AWS can read. " +
			"The documents equal those of an API server with the same keys, byte for byte, including the key IDs. " +
			"By default the key set is at /openid/v1/jwks below the issuer, the path of the API server.",
		Example: "  # Write the documents of the running cluster\n  kubectl irsa oidc documents -d site\n\n" +
			"  # Before a key rotation, add the next signing key\n  kubectl irsa oidc documents --with-cluster --public-key next.pub -d site\n\n" +
			"  # Before the cluster exists\n  kubectl irsa oidc documents --public-key sa.pub --issuer https://oidc.example.com/prod -d site",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), oidcTimeout)
			defer cancel()
			return source.writeDocuments(ctx, directory)
		},
	}
	source.addFlags(command.Flags())
	command.Flags().StringVarP(&directory, "directory", "d", "", "Write the files to this `directory`, with the paths that they need below the issuer. If empty, print the documents.")
	return command
}

func (s *oidcSource) writeDocuments(ctx context.Context, directory string) error {
	found, err := s.load(ctx)
	if err != nil {
		return err
	}
	report := documentsReport{oidcIssuer: found, Directory: directory, Files: documentFiles(found.site)}
	if directory != "" && !s.dryRun {
		if err := found.site.Write(directory); err != nil {
			return err
		}
		report.Done = true
	}
	return s.print(report, func(out io.Writer) error { return s.describeDocuments(out, report) })
}

func documentFiles(site publish.Site) []documentFile {
	var files []documentFile
	for _, file := range site.Files {
		files = append(files, documentFile{Path: file.Path, URL: file.URL, ContentType: file.ContentType, Document: file.Body})
	}
	return files
}

func (s *oidcSource) describeDocuments(out io.Writer, report documentsReport) error {
	if err := s.describeIssuer(out, report.oidcIssuer); err != nil {
		return err
	}
	if report.Directory == "" {
		return describeContents(out, report.Files)
	}
	if err := printUploadCommands(out, report); err != nil {
		return err
	}
	if report.Done {
		fmt.Fprintf(out, "\n%s wrote the files to %s\n", s.colorize(color.FgGreen)("OK:"), report.Directory)
	} else {
		fmt.Fprintf(out, "\nNothing is written yet; run the command again without --dry-run.\n")
	}
	return nil
}

// describeIssuer prints the issuer, its keys and the warnings.
func (s *oidcSource) describeIssuer(out io.Writer, found oidcIssuer) error {
	table := printers.GetNewTabWriter(out)
	fmt.Fprintf(table, "Issuer:\t%s\nKey set:\t%s\n", found.URL, found.JWKSURI)
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	table = printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "KEY\tALGORITHM\tFROM")
	for _, key := range found.Keys {
		fmt.Fprintf(table, "%s\t%s\t%s\n", key.ID, key.Algorithm, key.From)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(out)
	for _, warning := range found.Warnings {
		fmt.Fprintf(out, "%s %s\n", s.colorize(color.FgYellow)("Warning:"), warning)
	}
	if len(found.Warnings) > 0 {
		fmt.Fprintln(out)
	}
	return nil
}

func describeContents(out io.Writer, files []documentFile) error {
	for i, file := range files {
		if i > 0 {
			fmt.Fprintln(out)
		}
		var indented bytes.Buffer
		if err := json.Indent(&indented, file.Document, "", "  "); err != nil {
			return err
		}
		fmt.Fprintf(out, "Publish at %s with content type %s (-d DIRECTORY writes the file):\n\n%s\n", file.URL, file.ContentType, &indented)
	}
	return nil
}

// printUploadCommands prints the URL of each file, and commands that upload the files to S3.
func printUploadCommands(out io.Writer, report documentsReport) error {
	table := printers.GetNewTabWriter(out)
	fmt.Fprintln(table, "FILE\tPUBLISH AT\tCONTENT TYPE")
	for _, file := range report.Files {
		fmt.Fprintf(table, "%s\t%s\t%s\n", file.Path, file.URL, file.ContentType)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprint(out, "\nThe files must be readable from the internet without credentials. To upload them to an S3 bucket, run in this order:\n\n")
	for _, file := range report.Files {
		fmt.Fprintf(out, "  aws s3 cp %s %s --content-type %s --cache-control 'public, max-age=%d'\n",
			shellWord(filepath.Join(report.Directory, filepath.FromSlash(file.Path))), shellWord(bucketOf(report.URL, file.URL)+pathOf(file.URL)), file.ContentType, defaultMaxAge)
	}
	return nil
}

// bucketOf returns a placeholder for the bucket of a file. The host of the key set can
// differ from that of the issuer.
func bucketOf(issuerURL, fileURL string) string {
	host := parsed(fileURL).Host
	if host == parsed(issuerURL).Host {
		return "s3://BUCKET"
	}
	return "s3://BUCKET-OF-" + host
}

func pathOf(address string) string { return parsed(address).Path }

// parsed parses a URL. It returns an empty URL for an invalid one, but the callers' URLs
// are valid.
func parsed(address string) *url.URL {
	if parsed, err := url.Parse(address); err == nil {
		return parsed
	}
	return &url.URL{}
}

var plainWord = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// shellWord returns value as one word of a shell, quoted if necessary.
func shellWord(value string) string {
	if plainWord.MatchString(value) {
		return value
	}
	return "'" + strings.ReplaceAll(value, "'", `'\''`) + "'"
}
