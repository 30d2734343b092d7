(define-module (guix build-system cargo)
  #:export (cargo-build-system))

(define cargo-build-system 'cargo)
