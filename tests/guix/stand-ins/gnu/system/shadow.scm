(define-module (gnu system shadow)
  #:use-module (records)
  #:export (user-account user-account? user-account-name user-account-group user-account-supplementary-groups
            user-group user-group-name))

(define (any? value) #t)

(define account-fields
  (list (make-field 'name #f string? #f)
        (make-field 'group #f string? #f)
        (make-field 'supplementary-groups #f list? (lambda () '()))
        (make-field 'system? #f boolean? #f)
        (make-field 'comment #f string? #f)
        (make-field 'home-directory #f string? #f)
        (make-field 'create-home-directory? #f boolean? #f)
        (make-field 'shell #f any? #f)))
(define-record user-account account-fields
  (name group supplementary-groups system? comment home-directory create-home-directory? shell))

(define group-fields
  (list (make-field 'name #f string? #f)
        (make-field 'system? #f boolean? #f)))
(define-record user-group group-fields (name system?))
