;;; Stand-in: the names of the packages in a Cargo.lock.

(define-module (guix import crate)
  #:use-module (ice-9 textual-ports)
  #:use-module (ice-9 regex)
  #:export (cargo-inputs-from-lockfile))

(define (cargo-inputs-from-lockfile file)
  (map (lambda (match) (match:substring match 1))
       (list-matches "name = \"([^\"]+)\"" (call-with-input-file file get-string-all))))
