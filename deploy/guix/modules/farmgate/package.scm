;;; farmgate, built from the checkout that this file is in.

(define-module (farmgate package)
  #:use-module (gnu packages cmake)
  #:use-module (guix build-system cargo)
  #:use-module (guix gexp)
  #:use-module (guix git-download)
  #:use-module (guix import crate)
  #:use-module ((guix licenses) #:prefix license:)
  #:use-module (guix packages)
  #:use-module (guix utils)
  #:export (farmgate))

(define %checkout
  ;; This file is in deploy/guix/modules/farmgate.
  (string-append (current-source-directory) "/../../../.."))

(define farmgate
  (package
    (name "farmgate")
    (version "0.1.0")
    (source
     (local-file "../../../.." "farmgate-checkout"
                 #:recursive? #t
                 ;; Without .git, as in a channel that was pulled, every file belongs to it.
                 #:select? (or (git-predicate %checkout) (const #t))))
    (build-system cargo-build-system)
    (arguments
     (list
      #:install-source? #f
      ;; All others want peers, from openssl to Chromium, and are run before a commit.
      #:cargo-test-flags ''("--lib" "config::" "route::" "log::")
      #:phases
      #~(modify-phases %standard-phases
          (add-after 'install 'install-documentation
            (lambda _
              (let ((farmgate (string-append #$output "/bin/farmgate"))
                    (man (string-append #$output "/share/man")))
                (invoke farmgate "man" "--folder" (string-append man "/man1"))
                (mkdir-p (string-append man "/man5"))
                (rename-file (string-append man "/man1/farmgate.toml.5")
                             (string-append man "/man5/farmgate.toml.5"))
                (for-each
                 (lambda (shell file)
                   (let ((file (string-append #$output file)))
                     (mkdir-p (dirname file))
                     (with-output-to-file file
                       (lambda () (invoke farmgate "completions" shell)))))
                 '("bash" "zsh" "fish")
                 '("/etc/bash_completion.d/farmgate"
                   "/share/zsh/site-functions/_farmgate"
                   "/share/fish/vendor_completions.d/farmgate.fish"))))))))
    ;; aws-lc and zlib-ng are C, and come in their crates.
    (native-inputs (list cmake-minimal))
    ;; The crates, with the hashes of Cargo.lock.
    (inputs (cargo-inputs-from-lockfile (string-append %checkout "/Cargo.lock")))
    ;; Its filter of system calls is for these.
    (supported-systems '("x86_64-linux" "aarch64-linux"))
    (home-page "")
    (synopsis "Web server in front of a GNU Guix build farm")
    (description
     "farmgate takes the requests for a build farm, ends TLS, and passes them on to @command{guix publish} and Cuirass.
It orders and renews certificates, guards Cuirass's admin pages by client certificates, keeps the CI's files in a cache,
and writes access logs with masked addresses.")
    (license (list license:expat license:asl2.0))))
