(define-module (guix git-download)
  #:export (git-predicate))

(define (git-predicate folder)
  (const #t))
