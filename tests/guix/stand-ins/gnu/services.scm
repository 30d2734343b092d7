(define-module (gnu services)
  #:use-module (records)
  #:use-module (ice-9 match)
  #:export (service-type service-type? service-type-extensions service service-type-of service-value
            service-extension extension-target extension-compute
            account-service-type activation-service-type etc-service-type profile-service-type))

(define fields
  (list (make-field 'name #f symbol? #f)
        (make-field 'extensions #f list? #f)
        (make-field 'description #f string? #f)))
(define-record service-type fields (name extensions description))

(define (service-extension target compute) (list target compute))
(define extension-target (match-lambda ((target _) target)))
(define extension-compute (match-lambda ((_ compute) compute)))

(define (service type value) (list type value))
(define service-type-of (match-lambda ((type _) type)))
(define service-value (match-lambda ((_ value) value)))

(define account-service-type 'account)
(define activation-service-type 'activation)
(define etc-service-type 'etc)
(define profile-service-type 'profile)
